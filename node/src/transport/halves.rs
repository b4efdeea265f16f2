//! Where requests that came together are cut in two.

/// They are answered in two parts, if both are of about so many at least: who waits for the first goes on while the second is
/// worked on, so that both sides are busy at once, where otherwise they would take turns.
const REQUESTS_MIN: usize = 16;

/// The requests of some bytes that came together.
#[derive(Debug)]
pub(super) struct Halves {
    bytes: usize,
    handled: usize,
    is_whole: bool,
}

impl Halves {
    /// Of so many bytes, of which none is handled.
    pub(super) fn of(bytes: usize) -> Self {
        Self { bytes, handled: 0, is_whole: true }
    }

    /// Another request has been handled, with so many bytes ahead. Whether what follows is the second part: not if its caller waits
    /// for `more`, and so gains nothing. It is at most once.
    pub(super) fn is_cut_after(&mut self, more: bool, ahead: usize) -> bool {
        self.handled += 1;
        let done = self.bytes.saturating_sub(ahead);
        // As many are ahead, if they are as long as those before; multiplied, as each request comes by here.
        let are_enough = self.handled >= REQUESTS_MIN && self.handled * ahead >= REQUESTS_MIN * done;
        let is_cut = self.is_whole && !more && ahead <= done && are_enough;
        self.is_whole &= !is_cut;
        is_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many of these requests, each of so many bytes and of a caller who waits for more or not, they are cut.
    fn cuts(requests: &[(usize, bool)]) -> Vec<usize> {
        let mut ahead = requests.iter().map(|(bytes, _)| bytes).sum();
        let mut halves = Halves::of(ahead);
        let cut_after = |(index, (bytes, more)): (usize, &(usize, bool))| {
            ahead -= bytes;
            halves.is_cut_after(*more, ahead).then_some(index + 1)
        };
        requests.iter().enumerate().filter_map(cut_after).collect()
    }

    #[test]
    fn many_callers_are_answered_in_two_parts_and_few_in_one() {
        assert_eq!(cuts(&[(150, false); 50]), [25]);
        assert_eq!(cuts(&[(55, false); 32]), [16]);
        assert!(cuts(&[(150, false); 31]).is_empty() && cuts(&[]).is_empty());
    }

    #[test]
    fn what_one_caller_waits_for_stays_together() {
        let mut batch = [(150, true); 64];
        batch[63].1 = false;
        assert!(cuts(&batch).is_empty());
        let batches: Vec<_> = (0..64).map(|index| (150, index % 16 != 15)).collect();
        assert_eq!(cuts(&batches), [32]);
    }

    #[test]
    fn a_long_one_in_front_or_behind_leaves_no_half_of_the_others() {
        let with_long = |index: usize| (0..60).map(move |at| (if at == index { 60_000 } else { 60 }, false)).collect();
        let [front, behind]: [Vec<_>; 2] = [0, 59].map(with_long);
        assert!(cuts(&behind).is_empty());
        assert!(cuts(&front).is_empty(), "most of the time has gone into the first");
    }
}
