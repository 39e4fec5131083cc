"""Sealing recordings: from the messages of a file to signed segments, to a ledger, to one proof that lies beside the file.

`signing` cuts and signs, each message once however often a run is interrupted; `proving` asks a ledger for what it has of
the segments and makes the recording proof; `placing` puts it beside the recording and into it.
"""
