"""Documents that commands print with `--json` and the API answers with: the same, whoever asks."""
