"""The command `tunepipe`."""
