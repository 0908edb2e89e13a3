-- What stands beside the declared tables: whose they are, how far they are, and the copy of the state
-- that nodes start from. firstcome writes this schema, everybody else reads it.

CREATE SCHEMA firstcome;
COMMENT ON SCHEMA firstcome IS 'What firstcome decided: written by firstcome only, for everybody to read';

CREATE TABLE firstcome.form (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    number  integer NOT NULL CHECK (0 < number)
);
COMMENT ON TABLE firstcome.form IS 'The form of the tables that are not declared by a workload; one row';
COMMENT ON COLUMN firstcome.form.is_only IS 'Always true: there is one row';
COMMENT ON COLUMN firstcome.form.number IS 'The number of the form; another program knows by it whether it can work with these tables';

CREATE TABLE firstcome.origin (
    is_only    boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    cluster_id text        NOT NULL,
    topic      text        NOT NULL,
    topic_id   text        NOT NULL,
    partitions integer     NOT NULL CHECK (0 < partitions),
    code_secret text       NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE firstcome.origin IS 'Which record of decisions these tables follow; one row, which never changes';
COMMENT ON COLUMN firstcome.origin.is_only IS 'Always true: there is one row';
COMMENT ON COLUMN firstcome.origin.cluster_id IS 'The id of the Kafka cluster';
COMMENT ON COLUMN firstcome.origin.topic IS 'The name of the topic';
COMMENT ON COLUMN firstcome.origin.topic_id IS 'The id of the topic: a topic that is made anew under the same name has another';
COMMENT ON COLUMN firstcome.origin.partitions IS 'How many partitions the topic has';
COMMENT ON COLUMN firstcome.origin.code_secret IS 'A digest of the secret that the codes of claims come from, never the secret';
COMMENT ON COLUMN firstcome.origin.stored_at IS 'When this row was written, by the clock of this database';

CREATE TABLE firstcome.positions (
    partition     integer     PRIMARY KEY CHECK (0 <= partition),
    offset_next   bigint      NOT NULL CHECK (0 <= offset_next),
    decisions     bigint      NOT NULL CHECK (0 <= decisions),
    effective_at  timestamptz NOT NULL,
    rules_version integer     NOT NULL CHECK (0 <= rules_version),
    digest        bytea       NOT NULL
);
COMMENT ON TABLE firstcome.positions IS 'How far these tables are, one row for each partition; written in the same transaction as the rows';
COMMENT ON COLUMN firstcome.positions.partition IS 'The partition of the topic';
COMMENT ON COLUMN firstcome.positions.offset_next IS 'The offset of the first record that is not in these tables yet';
COMMENT ON COLUMN firstcome.positions.decisions IS 'How many decisions of this partition are in these tables';
COMMENT ON COLUMN firstcome.positions.effective_at IS 'The effective time of the partition at that place';
COMMENT ON COLUMN firstcome.positions.rules_version IS 'The version of the rules that decides at that place';
COMMENT ON COLUMN firstcome.positions.digest IS 'The digest of the state at that place';

CREATE TABLE firstcome.state_copies (
    partition      integer     PRIMARY KEY REFERENCES firstcome.positions (partition),
    offset_next    bigint      NOT NULL CHECK (0 < offset_next),
    decisions      bigint      NOT NULL CHECK (0 <= decisions),
    effective_at   timestamptz NOT NULL,
    rules_version  integer     NOT NULL CHECK (0 <= rules_version),
    digest         bytea       NOT NULL,
    sections_count integer     NOT NULL CHECK (0 < sections_count),
    stored_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE firstcome.state_copies IS 'Copies of the state of each partition, which a node without a folder of its own starts from; never ahead of positions';
COMMENT ON COLUMN firstcome.state_copies.partition IS 'The partition';
COMMENT ON COLUMN firstcome.state_copies.offset_next IS 'The offset of the first record that is not in the copy';
COMMENT ON COLUMN firstcome.state_copies.decisions IS 'How many decisions are in the copy';
COMMENT ON COLUMN firstcome.state_copies.effective_at IS 'The effective time at that place';
COMMENT ON COLUMN firstcome.state_copies.rules_version IS 'The version of the rules that decides at that place';
COMMENT ON COLUMN firstcome.state_copies.digest IS 'The digest of the state at that place';
COMMENT ON COLUMN firstcome.state_copies.sections_count IS 'How many rows of state_sections the copy has';
COMMENT ON COLUMN firstcome.state_copies.stored_at IS 'When the copy was stored, by the clock of this database';

CREATE TABLE firstcome.state_sections (
    partition integer NOT NULL REFERENCES firstcome.state_copies (partition) ON DELETE CASCADE,
    place     integer NOT NULL CHECK (0 <= place),
    bytes     bytea   NOT NULL,
    PRIMARY KEY (partition, place)
);
-- The bytes are dense already: to try to compress them again costs more than it saves.
ALTER TABLE firstcome.state_sections ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE firstcome.state_sections IS 'The copies, section by section';
COMMENT ON COLUMN firstcome.state_sections.partition IS 'The partition';
COMMENT ON COLUMN firstcome.state_sections.place IS 'The place of the section in its copy, from 0';
COMMENT ON COLUMN firstcome.state_sections.bytes IS 'The section, in the form that snapshots on one machine have';
