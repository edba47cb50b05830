"""Pure logic of tunepipe: formats, validation, splitting, steps and cost, metrics, comparison."""
