"""`python -m nms` is the command `nms`; child processes are started this way."""

from nms.cli.main import main

if __name__ == "__main__":
    main()
