"""What commands print: documents as tables and sentences. Pure."""
