-- Statements over x and y whose results show nothing below a microsecond.

select date_trunc('second', ts), date_trunc('minute', nn), date_trunc('day', ts), date_trunc('microseconds', ts), i from x;
select time_bucket(interval 1 second, ts), time_bucket(interval 1 month, nn), time_bucket(interval '1 hour', ts, 'America/New_York') from x;
select hour(ts), minute(ts), second(ts), millisecond(nn), microsecond(ts), epoch(ts), epoch_ms(nn), epoch_us(ts), dayname(ts), last_day(nn) from x;
select extract(second from ts), extract('epoch' from nn), date_part('microseconds', ts), date_part(['minute', 'second'], nn) from x;
select ts::timestamptz, ts::timestamp, nn::timestamp, nn::timestamptz, ts::date, nn::date, nn::time, ts::timestamp::time, ts::timetz from x;
select ts::timestamp_s, ts::timestamp_ms, nn::timestamp_s, nn::timestamp_ms, try_cast(ts as date) from x;
select (ts at time zone 'America/New_York')::time, (ts at time zone 'America/New_York')::date, hour(nn at time zone 'Asia/Tokyo') from x;
select strftime(ts, '%Y-%m-%d %H:%M:%S.%f'), strftime(nn, '%c %x %X'), strftime(ts, '%Z') from x;
select date_diff('second', ts, us), date_diff('microsecond', ts, b), date_sub('minute', nn, un), datediff('day', ts, b) from x;
select age(ts, us), age(b, ts), (ts + interval 1 month)::timestamptz, (nn - interval '1 year 3 seconds')::timestamp from x;
select avg(ts), median(ts), quantile_cont(nn, 0.3), mad(ts), max(ts)::date, min(nn)::timestamp from x;
select date_trunc('hour', ts) h, s, count(*), avg(p) from x group by all;
select i, ts::timestamptz from x order by ts::timestamptz, i limit 20;
select range(date_trunc('day', ts), ts, interval 6 hour) from x;
select epoch_us(ts - d), epoch_us(ts - un) from x;
