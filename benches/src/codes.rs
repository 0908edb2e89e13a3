//! The cost of a coupon code on one core: made and read, in comparison with one HMAC-SHA-256 over the same
//! bytes, as a code of a serial and a truncated MAC would need.

use std::hint::black_box;

use domain::types::Serial;
use firstcome::codes::CodeKeys;
use ring::hmac;
use serde_json::{Value, json};

use crate::report::median;
use crate::{Outcome, clock};

const CAMPAIGN: &str = "spring-sale-2026";
/// Calls between two readings of the clock.
const BATCH: u32 = 1_000;

/// Nanoseconds for each operation.
pub(crate) fn costs(rounds: usize) -> Outcome<Value> {
    let folder = tempfile::tempdir()?;
    let keys = CodeKeys::open(folder.path(), false, [7; 32])?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    let codes: Vec<String> = serials().map(|serial| keys.code(1, CAMPAIGN, serial)).collect();
    let (mut made, mut read, mut mac) = (Vec::new(), Vec::new(), Vec::new());
    // Alternating, so that disturbances of the machine affect all alike.
    for _ in 0..rounds * 100 {
        made.push(time_of(|| serials().for_each(|serial| drop(black_box(keys.code(1, CAMPAIGN, serial))))));
        read.push(time_of(|| {
            for code in &codes {
                black_box(keys.serial(1, CAMPAIGN, code)).ok();
            }
        }));
        mac.push(time_of(|| {
            for serial in serials() {
                let mut context = hmac::Context::with_key(&key);
                context.update(CAMPAIGN.as_bytes());
                context.update(&serial.get().to_le_bytes());
                black_box(context.sign());
            }
        }));
    }
    Ok(json!({ "code_ns": median(&made).round(), "serial_ns": median(&read).round(), "hmac_sha256_ns": median(&mac).round() }))
}

fn serials() -> impl Iterator<Item = Serial> {
    (1..=BATCH).filter_map(Serial::new)
}

fn time_of(work: impl FnOnce()) -> f64 {
    let started = clock::now();
    work();
    started.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
}
