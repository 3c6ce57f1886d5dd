//! What an edit of the document may not set free: readings and wishes of before count for no more than they did.
//!
//! Both were found by the simulator, where people edit while sources fail.

use super::situations::{begun, sizes, told};
use super::*;

#[test]
fn a_first_zero_lowers_nothing_that_an_edit_of_the_bounds_lets_go() {
    let mut scale = sizes(2, 10);
    scale.triggers[0].zero_confirmations = Some(3);
    let mut world = begun(scale, 2);
    assert_eq!(told(&mut world, 0.0).wanted, 2);
    world.scale().min_replicas = 1;
    assert_eq!(world.turn().wanted, 2, "one zero is not three");
    assert_eq!(told(&mut world, 0.0).wanted, 2);
    assert_eq!(told(&mut world, 0.0).wanted, 1);
}

#[test]
fn an_older_wish_raises_nothing_when_its_source_is_gone() {
    let mut scale = sizes(1, 10);
    scale.behavior.scale_up.policies = vec![workers(1, 60)];
    let mut world = begun(scale, 1);
    assert_eq!(told(&mut world, 5.0).wanted, 2, "one at a time");
    world.scale().triggers = vec![exact("other")];
    world.pass(Span::secs(61));
    assert_eq!(world.turn().wanted, 2, "nobody asks for more");
}
