use super::*;

#[test]
fn cpu_time_is_the_sum_of_user_and_system_whatever_the_name() {
    let stat = "4242 (a) name ) of 3) R 1 2 3 4 5 6 7 8 9 10 250 50 7 7 20 0 1 0 12345";
    assert_eq!(cpu_ticks(stat), Some(300));
    assert_eq!(cpu_ticks("4242 (cut) R 1 2 3"), None);
    assert_eq!(cpu_ticks(""), None);
}

#[test]
fn own_cpu_time_never_goes_back() {
    let before = own_cpu().unwrap();
    assert!(own_cpu().unwrap() >= before);
}
