"""`python -m tunepipe`: the command, where its script is not on the path."""

from tunepipe.cli.main import main

if __name__ == "__main__":
    main()
