use super::*;

#[test]
fn every_command_stands_in_one_group() {
    let mut command = Cli::command();
    command.build();
    let mut commands: Vec<_> = command.get_subcommands().map(|found| found.get_name().to_owned()).collect();
    let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| names.iter().map(|&name| name.to_owned())).collect();
    commands.sort();
    grouped.sort();
    assert_eq!(commands, grouped);
}

#[test]
fn arguments_are_consistent() {
    documented().debug_assert();
}
