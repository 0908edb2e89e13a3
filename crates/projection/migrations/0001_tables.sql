-- The history across machines. What each column says is told by its comment, for those who report
-- from these tables: firstcome writes them, everybody else reads them.

CREATE TABLE firstcome.origin (
    is_only    boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    cluster_id text        NOT NULL,
    topic      text        NOT NULL,
    topic_id   text        NOT NULL,
    partitions integer     NOT NULL CHECK (0 < partitions),
    stored_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE firstcome.origin IS 'Which record of decisions these tables follow; one row, which never changes';
COMMENT ON COLUMN firstcome.origin.is_only IS 'Always true: there is one row';
COMMENT ON COLUMN firstcome.origin.cluster_id IS 'The id of the Kafka cluster';
COMMENT ON COLUMN firstcome.origin.topic IS 'The name of the topic';
COMMENT ON COLUMN firstcome.origin.topic_id IS 'The id of the topic: a topic that is made anew under the same name has another';
COMMENT ON COLUMN firstcome.origin.partitions IS 'How many partitions the topic has';
COMMENT ON COLUMN firstcome.origin.stored_at IS 'When this row was written, by the clock of this database';

CREATE TABLE firstcome.code_keys (
    number      bigint PRIMARY KEY CHECK (0 <= number),
    fingerprint bytea  NOT NULL CHECK (octet_length(fingerprint) = 16)
);
COMMENT ON TABLE firstcome.code_keys IS 'Which keys the codes of claims come from, so that no node starts with another one';
COMMENT ON COLUMN firstcome.code_keys.number IS 'The number of the key; campaigns.code_key names it';
COMMENT ON COLUMN firstcome.code_keys.fingerprint IS 'A digest of the key, never the key';

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
COMMENT ON COLUMN firstcome.positions.digest IS 'The digest of the chain of decisions up to that place';

CREATE TABLE firstcome.campaigns (
    id              bigint      PRIMARY KEY CHECK (0 <= id),
    partition       integer     NOT NULL REFERENCES firstcome.positions (partition),
    name            text        COLLATE "C" NOT NULL UNIQUE,
    stock           integer     NOT NULL CHECK (0 < stock),
    per_subject_max integer     NOT NULL CHECK (0 < per_subject_max),
    opens_at        timestamptz,
    closes_at       timestamptz,
    redeem_until    timestamptz,
    paused          boolean     NOT NULL,
    code_key        bigint      NOT NULL CHECK (0 <= code_key),
    version         bigint      NOT NULL CHECK (0 < version),
    created_at      timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL
);
COMMENT ON TABLE firstcome.campaigns IS 'Limited offers, with the settings that they have now';
COMMENT ON COLUMN firstcome.campaigns.id IS 'Its number in its partition, times the number of partitions, plus its partition';
COMMENT ON COLUMN firstcome.campaigns.partition IS 'The partition that decides about it';
COMMENT ON COLUMN firstcome.campaigns.name IS 'The name that its runner gave it';
COMMENT ON COLUMN firstcome.campaigns.stock IS 'Units in all';
COMMENT ON COLUMN firstcome.campaigns.per_subject_max IS 'Units that one subject may hold';
COMMENT ON COLUMN firstcome.campaigns.opens_at IS 'Claims are granted from this instant on; null: at once';
COMMENT ON COLUMN firstcome.campaigns.closes_at IS 'Claims are refused from this instant on; null: never';
COMMENT ON COLUMN firstcome.campaigns.redeem_until IS 'Claims can be redeemed until just before this instant; null: for ever';
COMMENT ON COLUMN firstcome.campaigns.paused IS 'Whether claims are refused for now';
COMMENT ON COLUMN firstcome.campaigns.code_key IS 'The number of the key that its codes come from';
COMMENT ON COLUMN firstcome.campaigns.version IS '1 at first, one more with each change of settings';
COMMENT ON COLUMN firstcome.campaigns.created_at IS 'When it was created';
COMMENT ON COLUMN firstcome.campaigns.changed_at IS 'When its settings were last written';

CREATE TABLE firstcome.claims (
    campaign   bigint      NOT NULL REFERENCES firstcome.campaigns (id),
    serial     bigint      NOT NULL CHECK (0 < serial),
    subject    text        COLLATE "C" NOT NULL,
    claimed_at timestamptz NOT NULL,
    status     text        COLLATE "C" NOT NULL CHECK (status IN ('live', 'redeemed', 'cancelled')),
    changed_at timestamptz,
    actor      text        COLLATE "C" NOT NULL,
    request_id text        COLLATE "C" NOT NULL,
    only_one   boolean     NOT NULL,
    PRIMARY KEY (campaign, serial),
    CONSTRAINT claims_changed CHECK ((status = 'live') = (changed_at IS NULL))
);
-- One subject never holds two claims of a campaign that gives one to each: the database refuses it
-- whatever writes.
CREATE UNIQUE INDEX claims_one_each ON firstcome.claims (campaign, subject) WHERE only_one AND status <> 'cancelled';
CREATE INDEX claims_by_subject ON firstcome.claims (subject, campaign, serial);
COMMENT ON TABLE firstcome.claims IS 'Every claim that was ever granted, cancelled ones included';
COMMENT ON COLUMN firstcome.claims.campaign IS 'The id of its campaign';
COMMENT ON COLUMN firstcome.claims.serial IS 'Its number in its campaign: 1, 2, 3 and so on in the order of decision, never used twice';
COMMENT ON COLUMN firstcome.claims.subject IS 'Whose it is: an opaque id';
COMMENT ON COLUMN firstcome.claims.claimed_at IS 'When it was granted';
COMMENT ON COLUMN firstcome.claims.status IS 'live, redeemed (used) or cancelled (given back)';
COMMENT ON COLUMN firstcome.claims.changed_at IS 'When it was redeemed or cancelled; null while it is live';
COMMENT ON COLUMN firstcome.claims.actor IS 'Who asked for it: the name of the key, users, or local';
COMMENT ON COLUMN firstcome.claims.request_id IS 'The request that it was granted to, as in the logs';
COMMENT ON COLUMN firstcome.claims.only_one IS 'Whether its campaign gave one to each subject when it was granted';
COMMENT ON INDEX firstcome.claims_one_each IS 'One claim for each subject where the campaign gives one';

CREATE TABLE firstcome.requests (
    partition   integer     NOT NULL REFERENCES firstcome.positions (partition),
    ordinal     bigint      NOT NULL CHECK (0 < ordinal),
    recorded_at timestamptz NOT NULL,
    body        bytea       NOT NULL,
    PRIMARY KEY (partition, ordinal)
);
COMMENT ON TABLE firstcome.requests IS 'Request keys (Idempotency-Key) that took effect in the last 24 hours, with their answers';
COMMENT ON COLUMN firstcome.requests.partition IS 'The partition that remembers it';
COMMENT ON COLUMN firstcome.requests.ordinal IS 'Which decision of the partition it was: positions.decisions at that time';
COMMENT ON COLUMN firstcome.requests.recorded_at IS 'When it took effect';
COMMENT ON COLUMN firstcome.requests.body IS 'Key, fingerprint and answer, in the form of the program';
