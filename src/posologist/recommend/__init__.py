"""From a situation to ranked, dosed, explained plans. Start reading at pipeline.py."""
