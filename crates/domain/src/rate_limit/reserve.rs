//! Reserve, then settle: a caller that learns the true cost only afterwards takes an estimate
//! first, and the actual cost when it is known.
//!
//! A reservation takes its estimate at once, so that others see it. Settling corrects: what was
//! too much is given back, as far as time has not given it back already; what was too little is
//! taken on top, as a debt if need be. A reservation that nobody settles in time stays as it was
//! taken: so a caller that vanishes never makes room that it may have used.

use super::{Decision, KeyState, Moment, Policy};

/// What was reserved: kept by whoever reserved it, given back once for settling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// Units that were taken.
    pub cost: u32,
    /// When.
    pub taken_at: Moment,
    /// It can be settled until just before this moment.
    pub expires_at: Moment,
    /// When time has given all of it back.
    pub weighs_until: Moment,
}

/// Why a reservation cannot be settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettleRejection {
    /// There is no such reservation: it never was, or it has been settled. Found by whoever keeps
    /// the reservations; the rules know only what they are given.
    ReservationNotFound,
    /// Too late: the estimate stays taken.
    ReservationExpired {
        /// Since when.
        expired_at: Moment,
    },
}

impl SettleRejection {
    /// The stable word that clients match.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ReservationNotFound => "reservation_not_found",
            Self::ReservationExpired { .. } => "reservation_expired",
        }
    }
}

impl Policy {
    /// Takes an estimate that can be settled for `timeout_ns` nanoseconds. `None` if it does not
    /// conform: nothing is taken then, also in shadow mode.
    #[must_use]
    pub fn reserve(&self, old: KeyState, now: Moment, cost: u32, timeout_ns: u64) -> (Decision, KeyState, Option<Reservation>) {
        let (decision, new) = self.check(old, now, cost);
        let reservation = decision.conforms().then(|| Reservation {
            cost,
            taken_at: now,
            expires_at: now.plus_nanos(timeout_ns),
            weighs_until: self.weighs_until(&new, now),
        });
        (decision, new, reservation)
    }

    /// Puts `actual` in the place of the estimate. Each reservation is settled at most once:
    /// whoever keeps them sees to that.
    ///
    /// # Errors
    /// [`SettleRejection::ReservationExpired`], with the state as it was.
    pub fn settle(
        &self,
        old: KeyState,
        reservation: &Reservation,
        now: Moment,
        actual: u32,
    ) -> Result<KeyState, (SettleRejection, KeyState)> {
        if reservation.expires_at <= now {
            return Err((SettleRejection::ReservationExpired { expired_at: reservation.expires_at }, old));
        }
        if actual <= reservation.cost {
            return Ok(self.refund_of(old, now, reservation, reservation.cost.saturating_sub(actual)));
        }
        Ok(self.take(old, now, actual.saturating_sub(reservation.cost)))
    }
}
