"""What the subcommands of `emojax` do: a function each, its arguments the flags, its docstring the help."""
