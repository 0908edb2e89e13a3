//! The summary: one pass over the whole journal.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use domain::coupon::{CampaignNumber, Event as CouponEvent};
use domain::state::{Event, Record};
use domain::types::Timestamp;
use domain::wire::decode_record;
use journal::Lsn;
use journal::reader::{ReadError, Reader};
use journal::storage::FileStorage;
use journal::{segments, snapshot};
use serde_json::json;

use super::{InspectError, rfc3339};
use crate::verify::open_folder;

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Summary {
    journal_id: String,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    unreadable: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    /// Where it ends, in words.
    end: String,
    /// A torn tail or a damage, in words.
    trouble: Option<String>,
    campaigns: Vec<Campaign>,
    snapshots: Vec<Lsn>,
}

#[derive(Debug)]
struct Campaign {
    name: String,
    stock: u32,
    claims: u64,
    redeemed: u64,
    cancelled: u64,
}

impl Summary {
    pub(super) fn read(storage: &Arc<FileStorage>, snapshots: &Path) -> Result<Self, InspectError> {
        let mut summary = Self { snapshots: list_snapshots(snapshots)?, ..Self::default() };
        summary.segments = segments::list(&**storage).map_err(folder_error)?.len() as u64;
        match summary.read_journal(storage) {
            Err(ReadError::Damaged(damage)) => summary.trouble = Some(format!("DAMAGED: {damage}")),
            other => other?,
        }
        Ok(summary)
    }

    fn read_journal(&mut self, storage: &Arc<FileStorage>) -> Result<(), ReadError> {
        let Some(mut reader) = Reader::open(Arc::clone(storage), Lsn::ZERO)? else { return Ok(()) };
        self.journal_id = reader.journal_id().iter().map(|byte| format!("{byte:02x}")).collect();
        while let Some(batch) = reader.next_batch(None)? {
            self.batches += 1;
            self.bytes += batch.header.total_bytes();
            self.end = format!("{} at offset {}", segments::name_of(batch.header.segment), batch.offset + batch.header.total_bytes());
            for (lsn, record) in batch.records() {
                self.records = lsn.0;
                match decode_record(record.body, record.private_bytes()) {
                    Ok(record) => self.count(&record),
                    Err(_) => self.unreadable += 1,
                }
            }
        }
        self.trouble = reader.judge_end()?.torn.map(|torn| format!("torn tail: {torn}"));
        Ok(())
    }

    fn count(&mut self, record: &Record<'_>) {
        self.first_at.get_or_insert(record.at);
        self.last_at = Some(record.at);
        let Event::Coupon(event) = &record.event else { return };
        if let CouponEvent::CampaignCreated { name, settings, .. } = event {
            let (name, stock) = (name.as_str().to_owned(), settings.stock.get());
            return self.campaigns.push(Campaign { name, stock, claims: 0, redeemed: 0, cancelled: 0 });
        }
        let Some(campaign) = self.campaigns.get_mut(event.campaign().0 as usize) else { return };
        match event {
            CouponEvent::CampaignCreated { .. } | CouponEvent::Accepted { .. } => {}
            CouponEvent::CampaignChanged { settings, .. } => campaign.stock = settings.stock.get(),
            CouponEvent::Claimed { .. } => campaign.claims += 1,
            CouponEvent::Redeemed { .. } => campaign.redeemed += 1,
            CouponEvent::Cancelled { .. } => campaign.cancelled += 1,
        }
    }

    /// The name of the campaign that an event is about; its number if it has none.
    pub(super) fn name_of(&self, event: &Event<'_>) -> String {
        let Event::Coupon(event) = event else { return String::new() };
        let CampaignNumber(number) = event.campaign();
        self.campaigns.get(number as usize).map_or_else(|| format!("#{number}"), |campaign| campaign.name.clone())
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let time = |time: Option<Timestamp>| time.map_or_else(|| "none".to_owned(), rfc3339);
        writeln!(out, "journal     {}", self.journal_id)?;
        writeln!(out, "segments    {}", self.segments)?;
        writeln!(out, "batches     {} ({} bytes)", self.batches, self.bytes)?;
        writeln!(out, "records     {}", self.records)?;
        writeln!(out, "first time  {}", time(self.first_at))?;
        writeln!(out, "last time   {}", time(self.last_at))?;
        writeln!(out, "end         {}", self.end)?;
        if 0 < self.unreadable {
            writeln!(out, "unreadable  {} records", self.unreadable)?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(out, "{trouble}")?;
        }
        for Campaign { name, stock, claims, redeemed, cancelled } in &self.campaigns {
            writeln!(out, "campaign    {name} stock={stock} claims={claims} redeemed={redeemed} cancelled={cancelled}")?;
        }
        self.snapshots.iter().try_for_each(|lsn| writeln!(out, "snapshot    at record {lsn}"))
    }

    pub(super) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let journal = json!({
            "kind": "journal",
            "id": self.journal_id,
            "segments": self.segments,
            "batches": self.batches,
            "bytes": self.bytes,
            "records": self.records,
            "unreadable": self.unreadable,
            "first_at": self.first_at.map(rfc3339),
            "last_at": self.last_at.map(rfc3339),
            "end": self.end,
            "trouble": self.trouble,
        });
        writeln!(out, "{journal}")?;
        for Campaign { name, stock, claims, redeemed, cancelled } in &self.campaigns {
            let counts = json!({ "claims": claims, "redeemed": redeemed, "cancelled": cancelled });
            writeln!(out, "{}", json!({ "kind": "campaign", "name": name, "stock": stock, "counts": counts }))?;
        }
        self.snapshots.iter().try_for_each(|lsn| writeln!(out, "{}", json!({ "kind": "snapshot", "lsn": lsn.0 })))
    }
}

fn list_snapshots(folder: &Path) -> Result<Vec<Lsn>, InspectError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    Ok(snapshot::list(&*open_folder(folder)?).map_err(folder_error)?)
}

fn folder_error(source: io::Error) -> ReadError {
    ReadError::Io { file: "the folder".to_owned(), source }
}
