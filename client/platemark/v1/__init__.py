"""Messages and stubs of ledger.proto, made by `make proto`; never edited."""
