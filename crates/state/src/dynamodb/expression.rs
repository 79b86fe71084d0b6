//! Conditions and changes of a write, in the service's language. All names and values are
//! placeholders, so no attribute's name can be one that the service reserves.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{EXPIRES, PARTITION, STAMP, Stamp, expires, number};

/// What must hold for a write (or a row of a query), and what an update changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Expression {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    conditions: Vec<String>,
    sets: Vec<String>,
    adds: Vec<String>,
}

impl Expression {
    fn name(&mut self, attribute: &str) -> String {
        let name = format!("#{attribute}");
        self.names.insert(name.clone(), attribute.to_owned());
        name
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let name = format!(":v{}", self.values.len());
        self.values.insert(name.clone(), value);
        name
    }

    fn compare(mut self, attribute: &str, operator: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.conditions.push(format!("{name} {operator} {value}"));
        self
    }

    /// The attribute has this value.
    pub(super) fn is(self, attribute: &str, value: AttributeValue) -> Self {
        self.compare(attribute, "=", value)
    }

    /// The attribute is greater than this.
    pub(super) fn above(self, attribute: &str, value: AttributeValue) -> Self {
        self.compare(attribute, ">", value)
    }

    /// The attribute has one of these values.
    pub(super) fn one_of(mut self, attribute: &str, values: Vec<AttributeValue>) -> Self {
        let name = self.name(attribute);
        let values: Vec<_> = values.into_iter().map(|value| self.value(value)).collect();
        let condition = format!("{name} IN ({})", values.join(", "));
        self.conditions.push(condition);
        self
    }

    /// The attribute begins with this.
    pub(super) fn begins(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.conditions
            .push(format!("begins_with({name}, {value})"));
        self
    }

    /// There is no such row.
    pub(super) fn absent(mut self) -> Self {
        let name = self.name(PARTITION);
        self.conditions
            .push(format!("attribute_not_exists({name})"));
        self
    }

    /// There is no such row, or its attribute is less than this.
    pub(super) fn absent_or_below(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (row, name, value) = (
            self.name(PARTITION),
            self.name(attribute),
            self.value(value),
        );
        let condition = format!("(attribute_not_exists({row}) OR {name} < {value})");
        self.conditions.push(condition);
        self
    }

    /// This call did not write the row: a request that is sent again changes nothing.
    pub(super) fn not_by(mut self, stamp: Stamp) -> Self {
        let (name, value) = (self.name(STAMP), self.value(stamp.value()));
        let condition = format!("(attribute_not_exists({name}) OR {name} <> {value})");
        self.conditions.push(condition);
        self
    }

    pub(super) fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    /// Sets who wrote, and when the row may go.
    pub(super) fn stamped(self, stamp: Stamp) -> Self {
        self.set(STAMP, stamp.value()).set(EXPIRES, expires())
    }

    /// Raises a number by one.
    pub(super) fn raise(mut self, attribute: &str) -> Self {
        let (name, one) = (self.name(attribute), self.value(number(1_u64)));
        self.sets.push(format!("{name} = {name} + {one}"));
        self
    }

    /// Adds to a number, which is 0 if there is none.
    pub(super) fn add(mut self, attribute: &str, value: u64) -> Self {
        let (name, value) = (self.name(attribute), self.value(number(value)));
        self.adds.push(format!("{name} {value}"));
        self
    }

    /// All conditions, if there are any.
    pub(super) fn condition(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }

    /// All changes.
    pub(super) fn update(&self) -> String {
        let mut parts = Vec::new();
        if !self.sets.is_empty() {
            parts.push(format!("SET {}", self.sets.join(", ")));
        }
        if !self.adds.is_empty() {
            parts.push(format!("ADD {}", self.adds.join(", ")));
        }
        parts.join(" ")
    }

    /// The placeholders' names; the service refuses an empty map.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    /// The placeholders' values.
    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    /// Takes over what `key` says, with its values apart from ours; gives its condition.
    pub(super) fn key_condition(&mut self, key: &Self) -> String {
        self.names.extend(key.names.clone());
        let mut condition = key.condition().unwrap_or_default();
        // From the last on, so that `:v1` is not found in `:v10`.
        for index in (0..key.values.len()).rev() {
            let (old, new) = (format!(":v{index}"), format!(":k{index}"));
            condition = condition.replace(&old, &new);
            if let Some(value) = key.values.get(&old) {
                self.values.insert(new, value.clone());
            }
        }
        condition
    }
}
