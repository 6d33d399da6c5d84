//! One suite for every row of the table of dialects: a new dialect is tested by being added.
