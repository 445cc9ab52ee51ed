"""The command `nms`: one file per command group, over the rooms' use cases."""
