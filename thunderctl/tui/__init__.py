"""The status screen. It owns no logic: it shows the status document, events and a series, and reads them again."""
