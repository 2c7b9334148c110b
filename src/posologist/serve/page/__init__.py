"""The page at the bedside: server-rendered, without script it works too."""
