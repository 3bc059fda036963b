"""One file per subcommand, each with a `run(config, context)`: load, fit, measure, draw, save."""
