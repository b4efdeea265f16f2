//! T6: no ring change takes more than one owner of a slot.

use quoit_proto_types::View;

use crate::invariants::Violation;

pub(super) fn check(view: &View) -> Result<(), Violation> {
    let Some(target) = view.target_ring() else { return Ok(()) };
    let ring = view.ring();
    for slot in ring.slots().slots() {
        let (now, then) = (ring.owners(slot).len(), target.owners(slot).len());
        if then + 1 < now {
            let what = format!("slot {slot} goes from {now} owners to {then} with {}", view.fence());
            return Err(Violation::new("slots shrink by one", what));
        }
    }
    Ok(())
}
