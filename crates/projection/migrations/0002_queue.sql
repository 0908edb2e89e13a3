-- Queues: claims that are accepted and decided later, at the pace that their campaign has.

ALTER TABLE firstcome.campaigns
    ADD COLUMN mode                     text    NOT NULL DEFAULT 'direct' CHECK (mode IN ('direct', 'queued')),
    ADD COLUMN decisions_per_second_max integer CHECK (0 < decisions_per_second_max),
    ADD COLUMN queue_max                integer NOT NULL DEFAULT 1000000 CHECK (0 < queue_max);
COMMENT ON COLUMN firstcome.campaigns.mode IS 'direct: claims are answered with the decision; queued: with a place in the queue';
COMMENT ON COLUMN firstcome.campaigns.decisions_per_second_max IS 'The pace of the queue; null: none';
COMMENT ON COLUMN firstcome.campaigns.queue_max IS 'How many claims may be pending';

CREATE TABLE firstcome.queue (
    campaign    bigint      NOT NULL REFERENCES firstcome.campaigns (id),
    serial      bigint      NOT NULL CHECK (0 < serial),
    subject     text        COLLATE "C" NOT NULL,
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (campaign, serial)
);
COMMENT ON TABLE firstcome.queue IS 'Claims that are accepted and not decided yet; with its decision a claim moves to the table claims';
COMMENT ON COLUMN firstcome.queue.campaign IS 'Of which campaign: campaigns.id';
COMMENT ON COLUMN firstcome.queue.serial IS 'The serial that the claim will have';
COMMENT ON COLUMN firstcome.queue.subject IS 'Whose it is';
COMMENT ON COLUMN firstcome.queue.accepted_at IS 'When it was accepted';
