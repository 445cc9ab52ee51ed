"""The proof kit: writers that log what they committed, a target that logs every effect, and a checker.

A pipeline is a black box between two DSNs. What the words of the report mean:

- *written*: triggers at the source log each row version (a number that only grows per key, given out in commit order)
  inside the source transaction that wrote it. Recovery of the source therefore decides what was committed.
- *effect*: triggers at the target log each insert, update, delete and truncate inside the target transaction. All
  effects of one target transaction on one key count as one *step*, from the state before it to the state after it.
- *backfill over*: the mark (`proof.mark`) that the harness sets when the pipeline says so.

The verdict counts

- **lost**: after quiescence a row of the source is missing at the target, older there, or differs in content.
- **doubled**: a step that brings a version which the target already had: a second insert of an event that has no key,
  an insert of a version that was deleted meanwhile, an update from a version to itself after the backfill was over.
  Legal: an update from a version to itself before the mark (a chunk that is read again changes nothing), and versions
  that are skipped (folding). A row too many at the end, of an event that was written once, is doubled too.
- **reordered**: a step that brings a version below one that the target already had for that key, for ever: deletes and
  re-inserts do not reset it. Also a delete of a version that the source had not deleted.
- **half-visible**: a source transaction whose writes came into effect in more than one target transaction (a write
  comes into effect with the first step to its version or beyond it; writes whose step cannot be told because the key
  was absent before and after are left out), at least one of them after the mark; and every snapshot of the target,
  taken after the mark, in which the sum of money over three tables is not what every source transaction preserves.
- **invented**: a version at the target that no committed source transaction wrote (a rolled back one was applied).
"""
