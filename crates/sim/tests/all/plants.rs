//! Each planted fault is noticed. That none of these seeds fails without one, `seeds.rs` shows.

use sim::plant::Plant;
use sim::run::{Options, run};

const SEEDS_MAX: u64 = 200;

#[test]
fn every_planted_fault_is_noticed() {
    let mut missed = Vec::new();
    for plant in Plant::ALL {
        let options = Options { plant: Some(*plant), ..Options::default() };
        let noticed = (0..SEEDS_MAX).map(|seed| run(seed, &options)).find(|outcome| outcome.broken.is_some());
        match noticed.and_then(|outcome| outcome.broken.map(|broken| (outcome.seed, broken))) {
            Some((seed, broken)) => {
                let story: String = broken.story.chars().take(110).collect();
                println!("{plant:?}: {} seeds, in step {}: {story}", seed + 1, broken.step);
            }
            None => missed.push(*plant),
        }
    }
    assert_eq!(missed, [], "planted, and not noticed in {SEEDS_MAX} seeds");
}
