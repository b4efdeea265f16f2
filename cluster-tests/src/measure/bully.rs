//! The textbook bully (Garcia-Molina, 1982), unmodified, to compare with: no quorum, no ballots, and who comes back takes
//! the office from whoever has it.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::time::Timestamp;

use crate::sim::EventQueue;

/// As long as the members of a cluster of the profile `lan` wait.
const HEARTBEAT: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_millis(60);
const DELAY: Duration = Duration::from_micros(500);

/// What members of the textbook say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Is there anybody above?
    Election,
    /// There is.
    Answer,
    /// The sender presides, over a view of this number.
    Coordinator(u64),
    /// The sender lives, and presides or not.
    Alive(bool),
}

#[derive(Debug)]
enum Event {
    Word { from: usize, to: usize, word: Word, process: u32 },
    Tick(usize, u32),
    Up(usize),
    Down(usize),
    Cut(Vec<usize>),
    Mend,
}

#[derive(Debug, Default)]
struct Member {
    up: bool,
    process: u32,
    presides: bool,
    heard: BTreeMap<usize, Timestamp>,
    coordinator: Option<usize>,
    /// When it asked who is above, if it waits for that.
    asked: Option<Timestamp>,
    /// Until when it waits for one above to take office.
    yields_until: Option<Timestamp>,
    epoch: u64,
}

/// A cluster of textbook bullies. The higher the number, the higher the rank.
#[derive(Debug)]
pub struct Bullies {
    queue: EventQueue<Event>,
    members: Vec<Member>,
    /// Who is cut off from all others.
    side: Vec<usize>,
    /// What was published: number, by whom.
    published: Vec<(u64, usize)>,
    messages: u64,
}

/// What bullies did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Views published.
    pub views: usize,
    /// Numbers under which more than one view was published.
    pub forked: usize,
    /// Messages other than heartbeats.
    pub messages: u64,
}

impl Bullies {
    /// So many members, all up, of which the highest presides.
    pub fn new(count: usize) -> Self {
        let mut bullies = Self {
            queue: EventQueue::new(),
            members: (0..count).map(|_| Member::default()).collect(),
            side: Vec::new(),
            published: Vec::new(),
            messages: 0,
        };
        for member in 0..count {
            bullies.queue.after(Duration::ZERO, Event::Up(member));
        }
        bullies.run_for(Duration::from_secs(10));
        (bullies.published, bullies.messages) = (Vec::new(), 0);
        bullies
    }

    /// Cuts `side` off for so long, and lets as much time pass after that.
    #[must_use]
    pub fn partition(mut self, side: &[usize], duration: Duration) -> Outcome {
        self.queue.after(Duration::ZERO, Event::Cut(side.to_vec()));
        self.queue.after(duration, Event::Mend);
        self.run_for(duration * 2);
        self.outcome()
    }

    /// Lets the highest restart every `each`, for so long.
    #[must_use]
    pub fn restarts(mut self, each: Duration, duration: Duration) -> Outcome {
        let highest = self.members.len() - 1;
        let mut at = Duration::ZERO;
        while at < duration {
            self.queue.after(at, Event::Down(highest));
            self.queue.after(at + each / 2, Event::Up(highest));
            at += each;
        }
        self.run_for(duration);
        self.outcome()
    }

    fn outcome(&self) -> Outcome {
        let mut by_number: BTreeMap<u64, usize> = BTreeMap::new();
        for (number, _) in &self.published {
            *by_number.entry(*number).or_default() += 1;
        }
        let forked = by_number.values().filter(|views| **views > 1).count();
        Outcome { views: self.published.len(), forked, messages: self.messages }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.queue.now().saturating_add(duration);
        while self.queue.now() < end {
            let Some(event) = self.queue.pop() else { return };
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Word { from, to, word, process } => {
                let lives = self.members[to].up && self.members[from].process == process;
                if lives && self.side.contains(&from) == self.side.contains(&to) {
                    self.hear(from, to, word);
                }
            }
            Event::Tick(member, process) if self.members[member].process == process && self.members[member].up => {
                self.tick(member);
                self.queue.after(HEARTBEAT / 4, Event::Tick(member, process));
            }
            Event::Tick(..) => {}
            Event::Up(member) => {
                let (process, epoch) = (self.members[member].process + 1, self.members[member].epoch);
                self.members[member] = Member { up: true, process, epoch, ..Member::default() };
                self.queue.after(Duration::ZERO, Event::Tick(member, process));
                self.stand(member);
            }
            Event::Down(member) => self.members[member].up = false,
            Event::Cut(side) => self.side = side,
            Event::Mend => self.side = Vec::new(),
        }
    }

    fn say(&mut self, from: usize, to: usize, word: Word) {
        self.messages += u64::from(!matches!(word, Word::Alive(_)));
        let process = self.members[from].process;
        self.queue.after(DELAY, Event::Word { from, to, word, process });
    }

    /// Who recovers, or misses the coordinator, asks all above.
    fn stand(&mut self, member: usize) {
        self.members[member].asked = Some(self.queue.now());
        for above in member + 1..self.members.len() {
            self.say(member, above, Word::Election);
        }
    }

    fn preside(&mut self, member: usize) {
        let me = &mut self.members[member];
        (me.presides, me.coordinator, me.asked) = (true, Some(member), None);
        me.epoch += 1;
        let epoch = me.epoch;
        self.published.push((epoch, member));
        for other in (0..self.members.len()).filter(|other| *other != member) {
            self.say(member, other, Word::Coordinator(epoch));
        }
    }

    fn hear(&mut self, from: usize, to: usize, word: Word) {
        let now = self.queue.now();
        let me = &mut self.members[to];
        me.heard.insert(from, now);
        match word {
            Word::Election => {
                let busy = me.asked.is_some() || me.presides;
                self.say(to, from, Word::Answer);
                if !busy {
                    self.stand(to);
                }
            }
            Word::Answer => {
                me.asked = None;
                me.yields_until = Some(now.saturating_add(SILENCE));
            }
            Word::Coordinator(epoch) => {
                (me.coordinator, me.asked, me.yields_until) = (Some(from), None, None);
                me.epoch = me.epoch.max(epoch);
                me.presides = false;
                if from < to {
                    self.stand(to);
                }
            }
            Word::Alive(presides) => {
                // A coordinator that hears of a lower one takes the office back.
                if presides && from < to && me.asked.is_none() && me.yields_until.is_none() {
                    self.stand(to);
                } else if presides && from > to {
                    (me.coordinator, me.presides) = (Some(from), false);
                }
            }
        }
    }

    fn tick(&mut self, member: usize) {
        let now = self.queue.now();
        for other in (0..self.members.len()).filter(|other| *other != member) {
            if now.as_micros() / 1000 % 200 < 50 {
                self.say(member, other, Word::Alive(self.members[member].presides));
            }
        }
        let me = &self.members[member];
        let since = |at: Timestamp| now.checked_duration_since(at).unwrap_or_default();
        if me.asked.is_some_and(|asked| since(asked) >= ANSWER) {
            return self.preside(member);
        }
        let waits = me.asked.is_some() || me.yields_until.is_some_and(|until| until > now);
        let silent = |other: usize| me.heard.get(&other).is_none_or(|last| since(*last) >= SILENCE);
        let missed = me.coordinator.is_none_or(|coordinator| coordinator != member && silent(coordinator));
        if !waits && missed {
            self.members[member].yields_until = None;
            self.stand(member);
        }
    }
}
