-- What the decision rests on, as JSON: the call's facts, and what guards thought of the texts. Older rows have neither.
ALTER TABLE cases ADD COLUMN call TEXT;
ALTER TABLE cases ADD COLUMN evidence TEXT;
