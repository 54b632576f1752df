"""`python -m avjax COMMAND` is the command `avjax`."""

from avjax.cli import main

if __name__ == "__main__":
    main()
