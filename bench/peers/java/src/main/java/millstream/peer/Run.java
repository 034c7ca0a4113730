package millstream.peer;

/** One pass over all records: what came, and what had been used at the first and at the last of them. */
record Run(Tally tally, Usage first, Usage last) {}
