"""What cfg refuses."""

from nms.common.problem import Problem


class RevisionMoved(Problem):
    """Someone stored another revision since the base of a changeset was read."""

    status, code, title = 409, "revision-moved", "The configuration has moved on"
    remedy = "Look at `nms plan -f FILE` again and repeat it on the newest revision."
