//! Reads the VPSie API's list of offerings from text.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, de};

use super::{
    Source,
    error::{ReadError, ReadErrors},
    read::Documents,
    tree::{DisplayPath, Mismatch, Position, Step, Tree, Value, from_tree},
};
use crate::{
    provider::{DatacenterId, Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu, Quantity},
};

/// Reads the offerings of a reply of the VPSie API, or of a plain list of offerings.
///
/// An offering has `id`, `name`, `cpu` (cores), `ram` (MiB), `disk` (GiB), `hourly_price` or else `price` (per month of
/// 730 hours), `available` (true when missing) and `datacenter_id` (every datacenter when missing or empty). Numbers
/// may be written as strings; `identifier`, `nickname` and `ssd`, as some of the API's replies have it, are read in
/// place of `id`, `name` and `disk`. An hourly price of zero beside a price per month counts as missing.
///
/// # Errors
/// Bad syntax, a reply that reports a failure, an offering without id, size or price, a number that is none or is
/// negative, and two offerings with the same id and datacenter.
pub fn read_offerings(source: &Source<'_>) -> Result<Vec<Offering>, ReadErrors> {
    let mut reader = Reader {
        source,
        offerings: Vec::new(),
        seen: BTreeSet::new(),
        errors: ReadErrors::default(),
    };
    reader.read();
    reader.errors.into_result().map(|()| reader.offerings)
}

struct Reader<'a> {
    source: &'a Source<'a>,
    offerings: Vec<Offering>,
    seen: BTreeSet<(OfferingId, Option<DatacenterId>)>,
    errors: ReadErrors,
}

/// An offering as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    id: Option<Text>,
    identifier: Option<Text>,
    name: Option<Text>,
    nickname: Option<Text>,
    cpu: Option<Number>,
    ram: Option<Number>,
    disk: Option<Number>,
    ssd: Option<Number>,
    hourly_price: Option<Number>,
    price: Option<Number>,
    available: Option<Flag>,
    datacenter_id: Option<Text>,
}

/// A text, or a number that is meant as one.
#[derive(Debug)]
struct Text(String);

/// A decimal number that is not negative, or a text that is one. An empty text counts as absent.
#[derive(Debug)]
struct Number(Option<String>);

/// A boolean, or the numbers or texts that stand for one.
#[derive(Debug)]
struct Flag(bool);

// === impl Reader ===

impl Reader<'_> {
    fn read(&mut self) {
        let mut documents = Documents::new(self.source.text);
        let mut found = false;
        loop {
            // A reply has no field `items`; should there be one, it is of no interest.
            match documents.next(|_, _| {}) {
                Ok(None) => break,
                Ok(Some(tree)) if tree.is_null() => {}
                Ok(Some(tree)) if found => {
                    return self.report(
                        tree.at,
                        String::new(),
                        &[],
                        "a second document; one reply is expected".to_owned(),
                    );
                }
                Ok(Some(tree)) => {
                    found = true;
                    self.reply(&tree);
                }
                Err(syntax) => return self.report(syntax.at, String::new(), &[], syntax.message),
            }
        }
        if !found {
            let message = "it is empty; a list of offerings is expected".to_owned();
            self.report(Position { line: 1, column: 1 }, String::new(), &[], message);
        }
    }

    fn reply(&mut self, tree: &Tree<'_>) {
        let failed = tree
            .get("error")
            .is_some_and(|error| from_tree::<Flag>(error).is_ok_and(|Flag(failed)| failed));
        if failed {
            let said = tree.get("message").and_then(Tree::as_str).unwrap_or("nothing");
            let message = format!("the reply reports a failure; it says: {said}");
            return self.report(tree.at, String::new(), &[Step::Field("error".into())], message);
        }
        let (list, mut path) = match tree.get("data") {
            Some(data) => (data, vec![Step::Field("data".into())]),
            None => (tree, Vec::new()),
        };
        let Value::Sequence(elements) = &list.value else {
            let message = match list.value {
                Value::Mapping(_) if path.is_empty() => {
                    "is missing; the list of offerings is expected there".to_owned()
                }
                _ => format!("expected a list of offerings, found {}", list.describe()),
            };
            return self.report(list.at, String::new(), &[Step::Field("data".into())], message);
        };
        for (index, element) in elements.iter().enumerate() {
            path.push(Step::Index(index));
            if let Err(mismatch) = self.offering(element) {
                let label = match from_tree::<Written>(element).ok().and_then(|written| written.id()) {
                    Some(id) => format!("offering {id}"),
                    None => format!("offering {} of the list", index + 1),
                };
                let mut full = path.clone();
                full.extend(mismatch.path.into_iter().rev());
                self.report(mismatch.at.unwrap_or(element.at), label, &full, mismatch.message);
            }
            path.pop();
        }
    }

    fn offering(&mut self, tree: &Tree<'_>) -> Result<(), Mismatch> {
        let written: Written = from_tree(tree)?;
        let wrong = |field: &'static str, message: &str| {
            let path = vec![Step::Field(field.into())];
            Mismatch {
                message: message.to_owned(),
                at: Some(tree.locate(&path)),
                path,
            }
        };
        let id = written.id().ok_or_else(|| wrong("id", "is missing"))?;
        let name = written
            .name
            .or(written.nickname)
            .map_or_else(|| id.clone(), |Text(name)| name);
        let amount = |field, number: Option<Number>, scale: i64| {
            let thousandths = number
                .and_then(|number| number.quantity())
                .ok_or_else(|| wrong(field, "is missing"))?
                .milli();
            let scaled = i128::from(thousandths) * i128::from(scale) / 1000;
            i64::try_from(scaled).map_err(|_| wrong(field, "is too large"))
        };
        let cpu = amount("cpu", written.cpu, 1000)?;
        let memory = amount("ram", written.ram, Bytes::MIB)?;
        let disk = amount(
            "disk",
            written.disk.or(written.ssd).or(Some(Number(Some("0".to_owned())))),
            Bytes::GIB,
        )?;
        if cpu == 0 {
            return Err(wrong("cpu", "is zero"));
        }
        if memory == 0 {
            return Err(wrong("ram", "is zero"));
        }
        let monthly = written.price.as_ref().and_then(Number::float);
        let hourly = written
            .hourly_price
            .as_ref()
            .and_then(Number::float)
            .filter(|hourly| *hourly > 0.0 || monthly.is_none());
        let hourly_price = match (hourly, monthly) {
            (Some(hourly), _) => {
                HourlyPrice::from_hourly(hourly).ok_or_else(|| wrong("hourly_price", "is too large"))?
            }
            (None, Some(monthly)) => {
                HourlyPrice::from_monthly(monthly).ok_or_else(|| wrong("price", "is too large"))?
            }
            (None, None) => return Err(wrong("hourly_price", "is missing, and so is price")),
        };
        let datacenter = written
            .datacenter_id
            .map(|Text(id)| id)
            .filter(|id| !id.is_empty())
            .map(DatacenterId::new);
        let id = OfferingId::new(id);
        if !self.seen.insert((id.clone(), datacenter.clone())) {
            return Err(wrong("id", "is that of an earlier offering for the same datacenter"));
        }
        self.offerings.push(Offering {
            id,
            name,
            cpu: MilliCpu(cpu),
            memory: Bytes(memory),
            disk: Bytes(disk),
            max_pods: None,
            hourly_price,
            available: written.available.is_none_or(|Flag(available)| available),
            datacenter,
        });
        Ok(())
    }

    fn report(&mut self, at: Position, object: String, path: &[Step], message: String) {
        self.errors.push(ReadError {
            source: self.source.name.clone(),
            line: at.line,
            column: at.column,
            object,
            field: DisplayPath(path).to_string(),
            message,
        });
    }
}

// === impl Written ===

impl Written {
    fn id(&self) -> Option<String> {
        [&self.id, &self.identifier]
            .into_iter()
            .flatten()
            .map(|Text(id)| id.clone())
            .find(|id| !id.is_empty())
    }
}

// === impl Number ===

impl Number {
    /// The number, exact to the nano-unit.
    fn quantity(&self) -> Option<Quantity> {
        self.0.as_ref()?.parse().ok()
    }

    fn float(&self) -> Option<f64> {
        self.0.as_ref()?.parse().ok()
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self(None));
        }
        // A quantity's suffix would mean another unit than the one that the API has for the field.
        let digits = text.strip_prefix('+').unwrap_or(text);
        let decimal = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') && digits.parse::<f64>().is_ok();
        if !decimal {
            return Err(de::Error::custom(format_args!(
                "{text:?} is not a number, or it is negative"
            )));
        }
        Ok(Self(Some(digits.to_owned())))
    }
}

// === impl Text ===

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

// === impl Flag ===

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Flag;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Flag, E> {
                match number {
                    0 => Ok(Flag(false)),
                    1 => Ok(Flag(true)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Flag, E> {
                match text {
                    "false" | "0" => Ok(Flag(false)),
                    "true" | "1" => Ok(Flag(true)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Offering>, String> {
        let source = Source {
            name: "offerings.json".to_owned(),
            text,
        };
        read_offerings(&source).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_reply_and_a_plain_list() {
        let list = r#"[{"id": 7, "name": "S", "cpu": "0.5", "ram": "1024", "disk": 20, "hourly_price": "0.0125", "extra": {}},
            {"id": "m", "cpu": 4, "ram": 8192, "disk": 160.5, "price": 73, "available": false, "datacenter_id": "ams-1"},
            {"id": "m", "cpu": 4, "ram": 8192, "ssd": 160, "price": 73, "hourly_price": 0, "datacenter_id": 12}]"#;
        let offerings = read(list).unwrap();
        assert_eq!(
            read(&format!("{{\"error\": false, \"data\": {list}}}")).unwrap(),
            offerings
        );
        let first = &offerings[0];
        assert_eq!(
            (first.id.as_str(), first.name.as_str(), first.cpu, first.memory),
            ("7", "S", MilliCpu(500), Bytes(Bytes::GIB))
        );
        assert_eq!(
            (
                first.disk,
                first.hourly_price.nanos(),
                first.available,
                &first.datacenter
            ),
            (Bytes(20 * Bytes::GIB), 12_500_000, true, &None)
        );
        let second = &offerings[1];
        assert_eq!(
            (second.name.as_str(), second.available, second.hourly_price.nanos()),
            ("m", false, 100_000_000)
        );
        assert_eq!(second.disk, Bytes(160 * Bytes::GIB + Bytes::GIB / 2));
        assert_eq!(second.datacenter, Some(DatacenterId::new("ams-1")));
        assert_eq!(offerings[2].hourly_price.nanos(), 100_000_000);
        assert_eq!(read("[]").unwrap(), []);
        assert_eq!(
            read("- {id: a, cpu: 1, ram: 512, price: 7.3}\n").unwrap()[0].disk,
            Bytes(0)
        );
    }

    #[test]
    fn the_sample_replies_are_read() {
        assert_eq!(
            read(include_str!("../../../examples/clusters/scale-up/offerings.json"))
                .unwrap()
                .len(),
            4
        );
        assert_eq!(
            read(include_str!("../../../examples/clusters/mixed/offerings.json"))
                .unwrap()
                .len(),
            5
        );
    }

    #[test]
    fn what_is_no_list_of_offerings_is_refused() {
        assert_eq!(
            read("").unwrap_err(),
            "offerings.json:1: it is empty; a list of offerings is expected"
        );
        assert_eq!(
            read("{}").unwrap_err(),
            "offerings.json:1: data: is missing; the list of offerings is expected there"
        );
        assert_eq!(
            read("{\"data\": null}").unwrap_err(),
            "offerings.json:1: data: expected a list of offerings, found null"
        );
        assert_eq!(
            read("{\"data\": true}").unwrap_err(),
            "offerings.json:1: data: expected a list of offerings, found the boolean true"
        );
        assert_eq!(
            read("{\"error\": true, \"code\": 401, \"message\": \"bad token\", \"data\": []}").unwrap_err(),
            "offerings.json:1: error: the reply reports a failure; it says: bad token"
        );
        assert!(read("[] []").unwrap_err().contains("offerings.json:1: "));
        assert!(read("[{\"id\": \"a\"").unwrap_err().contains("not valid JSON"));
    }

    #[test]
    fn what_is_no_offering_is_refused() {
        let of = |fields: &str| {
            read(&format!("{{\"data\": [\n{{\"id\": \"a\", \"cpu\": 1, \"ram\": 512, \"disk\": 10, \"price\": 1}},\n{{{fields}}}]}}")).unwrap_err()
        };
        let base = "\"id\": \"b\", \"cpu\": 1, \"ram\": 512, \"disk\": 10, \"price\": 1";
        assert_eq!(
            of(&base.replace("\"b\"", "\"a\"")),
            "offerings.json:3: offering a: data[1].id: is that of an earlier offering for the same datacenter"
        );
        assert_eq!(
            of(&base.replace("\"id\": \"b\", ", "")),
            "offerings.json:3: offering 2 of the list: data[1].id: is missing"
        );
        assert_eq!(
            of(&base.replace("\"cpu\": 1, ", "")),
            "offerings.json:3: offering b: data[1].cpu: is missing"
        );
        assert!(of(&base.replace("512", "-512")).contains("data[1].ram: \"-512\" is not a number, or it is negative"));
        assert!(of(&base.replace("512", "\"512Mi\"")).contains("data[1].ram: \"512Mi\" is not a number"));
        assert!(of(&base.replace("512", "0")).contains("data[1].ram: is zero"));
        assert!(of(&base.replace("512", "[1]")).contains("data[1].ram: expected a string or a number, found sequence"));
        assert!(of(&base.replace("512", "1e300")).contains("data[1].ram: "));
        assert!(
            of(&base.replace("\"price\": 1", "\"price\": null"))
                .contains("data[1].hourly_price: is missing, and so is price")
        );
        assert!(of(&format!("{base}, \"available\": \"maybe\"")).contains("data[1].available: expected true or false"));
        assert!(of("1: 2").contains("not valid JSON"));
    }
}
