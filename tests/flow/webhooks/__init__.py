"""The proof that webhooks are neither lost nor doubled: a sender, an installation that is ill-treated, and a judge.

Each webhook is one event of one customer; it has a number of its own and a delivery id that its retries and doubles
share. What the words of the report mean:

- *acknowledged*: the sender got 200 or 202 with an id. It sends again until then, as providers do.
- *stored*: rows of `inbox.event` at the end. Each acknowledged webhook is there once, under the id of each answer.
- *delivered*: messages of a queue that is bound to the exchange `nms.inbox`. Each stored event is there; a repeat is
  legal (at least once, told apart by its id); those that arrive first are in order of the inbox.
- *applied*: triggers at the target log each insert and update. The table `arrived` has a row for each event, written
  once and never again; `customer` has a row for each customer, written in order of the inbox (several events of one
  customer may become one write), the last one last.
"""
