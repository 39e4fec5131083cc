"""A C2SP witness (c2sp.org/tlog-witness) for other people's logs: `platemark witness`.

store     what it has cosigned, in one SQLite file that only ever moves forward
decide    the decision over one request, without input or output
cosigner  decision, signatures and the store in one step
app       the HTTP routes; serving puts them on a socket. Both need the extra `witness`.

Section 9 of proto/log.md has the rules, deploy/WITNESS.md the manual.
"""
