"""The tunepipe command."""
