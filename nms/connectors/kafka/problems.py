"""Problems of a Kafka cluster as a source or target."""

from nms.common.problem import Problem, Retry, Unavailable


class KafkaMissing(Problem):
    """NMS was installed without what it takes to speak to Kafka."""

    status, code, title = 501, "kafka-missing", "Kafka is not installed"
    remedy = (
        "Install NMS with its extra: `pip install 'nms[kafka]'` (or `poetry install --extras kafka`), then restart."
    )


class KafkaAway(Unavailable):
    """No broker of a managed cluster answers, or a partition has no leader."""

    code, title = "kafka-away", "The cluster does not answer"
    remedy = "Look whether its brokers run and the servers are right; it is tried again by itself."


class KafkaAccessRefused(Problem):
    """The login, the password or a right is missing."""

    status, code, title = 403, "kafka-access-refused", "The cluster refuses access"
    remedy = "Correct the login, or grant the right that the message names: `kafka-acls --add`."


class KafkaRefused(Problem):
    """The cluster answers with an error that trying again does not mend by itself."""

    status, code, retry, title = 409, "kafka-refused", Retry.LATER, "The cluster refuses a request"
    remedy = "The message has Kafka's name of the error; mend its cause at the cluster, it is tried again by itself."


class TopicMissing(Problem):
    """The topic is not there, or the login may not see it."""

    status, code, retry, title = 409, "topic-missing", Retry.LATER, "The topic does not exist"
    remedy = "Make the topic (the hub makes none, so that its partitions stay yours); it is tried again by itself."


class TopicReplaced(Problem):
    """The topic has less than was read from it already: it was made anew, or lost its end."""

    status, code, title = 409, "topic-replaced", "The topic is another one"
    remedy = "Run `nms resync PIPELINE`: the topic is read anew from where `initial` says."


class OffsetLost(Problem):
    """The topic's retention removed messages that were not read yet."""

    status, code, title = 409, "offset-lost", "Messages were removed before they were read"
    remedy = "They are gone: run `nms resync PIPELINE` to read what is left, and give the topic a longer retention."


class RecordTooLarge(Problem):
    """A change is larger than the topic takes in one message."""

    status, code, title = 413, "record-too-large", "A change is too large for the topic"
    remedy = "Raise `max.message.bytes` of the topic or leave the large field out, then replay the change."
