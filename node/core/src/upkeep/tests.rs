mod bugs;
mod changes;
mod direct;
mod stage;
mod together;
