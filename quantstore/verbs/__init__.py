"""The verbs of the store, by what they are about; `HybridStorageManager` has them all."""
