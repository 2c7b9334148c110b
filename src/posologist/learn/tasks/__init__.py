"""The features of each learned task, and how a table's or a patient's row of them is built."""
