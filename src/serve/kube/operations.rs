//! A JSON patch (RFC 6902), operation by operation.
//!
//! A few operations can copy an object into itself until it fills the memory, or put it so deep that whoever walks through it
//! afterwards comes to the end of the stack. So what a patch carries from place to place is bounded, as by an API server, and how
//! deep it lies then.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use crate::serve::refusal::{Refusal, bad};
use crate::serve::wire::Status;

/// Operations of one patch.
const OPERATIONS_MAX: usize = 1000;
/// Bytes, as JSON, that all copies and moves of one patch carry.
const CARRIED_BYTES_MAX: usize = 1024 * 1024;
/// Levels down to the lowest of what is put somewhere: as many as are read of a body.
const LEVELS_MAX: usize = 128;

/// Apply a patch to an object. What was refused leaves the object half done.
///
/// # Errors
/// 400, 413 for too many operations, 422 for one that cannot be applied or makes too much of the object.
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), Refusal> {
    let patch: Patch =
        serde_json::from_value(patch.clone()).map_err(|error| bad(format!("the JSON patch does not hold: {error}")))?;
    if patch.len() > OPERATIONS_MAX {
        let message = format!("the JSON patch has {} operations, allowed are {OPERATIONS_MAX}", patch.len());
        return Err(Status::failure(413, "RequestEntityTooLarge", message).into());
    }
    let mut left = CARRIED_BYTES_MAX;
    for (n, operation) in patch.iter().enumerate() {
        let refused = |why: &str| invalid(&format!("operation {n}: {why}"));
        left = left.checked_sub(carried(object, operation)).ok_or_else(|| {
            refused(&format!("the copies and moves of one JSON patch carry no more than {CARRIED_BYTES_MAX} bytes together"))
        })?;
        if lowest(object, operation) > LEVELS_MAX {
            return Err(refused(&format!("it puts a value more than {LEVELS_MAX} levels deep")));
        }
        json_patch::patch(object, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = n;
            invalid(&error.to_string())
        })?;
    }
    Ok(())
}

fn invalid(why: &str) -> Refusal {
    Status::failure(422, "Invalid", format!("the JSON patch cannot be applied: {why}")).into()
}

/// The bytes that an operation takes from one place of the object to another.
fn carried(object: &Value, operation: &PatchOperation) -> usize {
    source(object, operation).map_or(0, |value| value.to_string().len())
}

/// What a copy or a move finds where it takes from.
fn source<'a>(object: &'a Value, operation: &PatchOperation) -> Option<&'a Value> {
    match operation {
        PatchOperation::Copy(copy) => object.pointer(copy.from.as_str()),
        PatchOperation::Move(moved) => object.pointer(moved.from.as_str()),
        PatchOperation::Add(_) | PatchOperation::Remove(_) | PatchOperation::Replace(_) | PatchOperation::Test(_) => None,
    }
}

/// The levels down to the lowest of what the operation puts somewhere.
fn lowest(object: &Value, operation: &PatchOperation) -> usize {
    let value = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        PatchOperation::Copy(_) | PatchOperation::Move(_) => source(object, operation),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    value.map_or(0, |value| operation.path().as_str().matches('/').count() + levels(value))
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(all) => 1 + all.iter().map(levels).max().unwrap_or(0),
        Value::Object(all) => 1 + all.values().map(levels).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(operations: &[Value]) -> Result<Value, (u16, String)> {
        let mut object = json!({"spec": {"replicas": 1}, "metadata": {"labels": {"a": "b"}}});
        let done = apply(&mut object, &json!(operations));
        done.map(|()| object).map_err(|refusal| (refusal.status().code, refusal.status().message.clone()))
    }

    #[test]
    fn every_operation_does_what_it_says_and_the_first_that_cannot_is_named() {
        let operations = [
            json!({"op": "test", "path": "/spec/replicas", "value": 1}),
            json!({"op": "replace", "path": "/spec/replicas", "value": 2}),
            json!({"op": "copy", "from": "/metadata/labels/a", "path": "/metadata/labels/c"}),
            json!({"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/d"}),
            json!({"op": "add", "path": "/spec/more", "value": [1]}),
            json!({"op": "add", "path": "/spec/more/-", "value": 2}),
            json!({"op": "remove", "path": "/spec/more/0"}),
        ];
        let expected = json!({"spec": {"replicas": 2, "more": [2]}, "metadata": {"labels": {"c": "b", "d": "b"}}});
        assert_eq!(applied(&operations), Ok(expected));
        let (code, words) = applied(&[operations[1].clone(), operations[0].clone()]).unwrap_err();
        assert!(code == 422 && words.contains("'/1'") && words.contains("/spec/replicas"), "{words}");
        let (code, words) = applied(&[json!({"op": "copy", "from": "/none", "path": "/spec/x"})]).unwrap_err();
        assert!(code == 422 && words.contains("from"), "{words}");
    }

    #[test]
    fn an_object_that_is_copied_into_itself_again_and_again_is_refused() {
        for op in ["copy", "move"] {
            let copy = |n: usize| json!({"op": "copy", "from": "", "path": format!("/a{n}")});
            let again = |n: usize| json!({"op": op, "from": format!("/a{n}"), "path": format!("/a{}", n + 1)});
            let mut operations: Vec<Value> = (0..14).map(copy).collect();
            operations.extend((13..500).map(again));
            let (code, words) = applied(&operations).unwrap_err();
            assert!(code == 422 && words.contains("carry no more than 1048576 bytes"), "{op}: {words}");
        }
    }

    #[test]
    fn nothing_is_put_deeper_than_a_body_can_be() {
        // Each copy makes the chain twice as long.
        let copy = |n: u32| json!({"op": "copy", "from": "/x", "path": "/x".repeat(2_usize.pow(n) + 1)});
        let chain = [json!({"op": "add", "path": "/x", "value": {"x": {}}})].into_iter().chain((0..8).map(copy));
        let (code, words) = applied(&chain.collect::<Vec<_>>()).unwrap_err();
        assert!(code == 422 && words.contains("more than 128 levels"), "{words}");
        let down = |n: usize| json!({"op": "add", "path": "/y".repeat(n), "value": {}});
        assert!(applied(&(1..=127).map(down).collect::<Vec<_>>()).is_ok());
        assert!(applied(&(1..=128).map(down).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn a_patch_has_so_many_operations_at_most() {
        let set = json!({"op": "replace", "path": "/spec/replicas", "value": 2});
        assert!(applied(&vec![set.clone(); OPERATIONS_MAX]).is_ok());
        let (code, words) = applied(&vec![set; OPERATIONS_MAX + 1]).unwrap_err();
        assert!(code == 413 && words.contains("1001 operations"), "{words}");
    }
}
