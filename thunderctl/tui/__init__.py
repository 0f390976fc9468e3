"""The status screen. It owns no logic: it shows the status document and reads it again."""
