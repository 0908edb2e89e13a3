//! Bugs that are planted on purpose, to show that the simulation detects them: each breaks one of the rules that
//! make the scaled mode exact. None is in the product: the simulated broker, gate, process or client plays it.

plants! {
    /// A node does not wait for its barrier before it answers from its own state.
    BarrierNotWaitedFor,
    /// A barrier that was appended before the request came serves it.
    OlderBarrierServes,
    /// The gate's "sold out" is told without asking the record.
    GateBelieved,
    /// A node appends a command again after a time-out.
    AppendedAgain,
    /// A cancellation names its subject and not the claim that is meant.
    CancelBySubject,
    /// A node takes the time from its own clock.
    TimeFromOwnClock,
    /// One node puts a campaign into another partition than the others.
    PartitionDiffers,
    /// Corrections are taken whatever they are based on, and what is in flight is not counted.
    FlightsIgnored,
    /// A yes is told before the claim's record has come by.
    ToldBeforeItCameBy,
    /// A place in the queue is told as a claim.
    PlaceToldAsClaim,
    /// A node goes on with rules that it does not know.
    RulesIgnored,
    /// A lost gate is filled with the whole stock.
    GateFilledWithStock,
}
