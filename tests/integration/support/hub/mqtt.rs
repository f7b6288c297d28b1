//! Packets of MQTT 3.1.1, read strictly: whatever the standard forbids is an error.

/// A CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    pub is_clean: bool,
    pub keep_alive_s: u16,
    /// Topic, payload, QoS.
    pub will: Option<(String, Vec<u8>, u8)>,
}

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub is_retained: bool,
    /// The packet identifier, with QoS 1 or 2.
    pub id: Option<u16>,
}

/// Reads fields one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a packet ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u16, String> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.number()?;
        self.take(length.into())
    }

    fn text(&mut self) -> Result<String, String> {
        let text = String::from_utf8(self.bytes()?.to_vec()).map_err(|_| "a text is not UTF-8")?;
        if text.contains('\0') { Err("a text contains U+0000".into()) } else { Ok(text) }
    }

    fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err("a packet is too long".into()) }
    }
}

impl Connect {
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let mut fields = Fields(body);
        let (name, level, flags) = (fields.text()?, fields.byte()?, fields.byte()?);
        if (name.as_str(), level) != ("MQTT", 4) {
            return Err(format!("protocol {name} {level} instead of MQTT 4"));
        }
        let keep_alive_s = fields.number()?;
        let client_id = fields.text()?;
        let is_set = |bit: u8| flags >> bit & 1 == 1;
        if is_set(0) {
            return Err("the reserved flag of CONNECT is set".into());
        }
        let will = match is_set(2) {
            true => Some((fields.text()?, fields.bytes()?.to_vec(), flags >> 3 & 3)),
            false if flags >> 3 & 7 != 0 => return Err("flags of a will without a will".into()),
            false => None,
        };
        let username = is_set(7).then(|| fields.text()).transpose()?;
        let password = is_set(6).then(|| fields.text()).transpose()?;
        fields.end()?;
        Ok(Self { client_id, username, password, is_clean: is_set(1), keep_alive_s, will })
    }
}

impl Publish {
    pub fn read(header: u8, body: &[u8]) -> Result<Self, String> {
        let mut fields = Fields(body);
        let topic = fields.text()?;
        if topic.is_empty() || topic.contains(['+', '#']) {
            return Err(format!("a message to the topic {topic:?}"));
        }
        let qos = header >> 1 & 3;
        let id = (qos > 0).then(|| fields.number()).transpose()?;
        Ok(Self { topic, payload: fields.0.to_vec(), qos, is_retained: header & 1 == 1, id })
    }

    /// The packet that the server sends.
    pub fn packet(&self) -> Vec<u8> {
        let mut body = field(&self.topic);
        body.extend(self.id.map(u16::to_be_bytes).into_iter().flatten());
        body.extend(&self.payload);
        packet(0x30 | self.qos << 1, &body)
    }
}

/// A SUBSCRIBE: its packet identifier, and filters with the requested QoS.
pub fn subscribe(header: u8, body: &[u8]) -> Result<(u16, Vec<(String, u8)>), String> {
    let mut fields = Fields(body);
    let id = fields.number()?;
    let mut filters = Vec::new();
    while !fields.0.is_empty() {
        filters.push((fields.text()?, fields.byte()?));
    }
    if header & 15 != 2 || filters.is_empty() || filters.iter().any(|(_, qos)| *qos > 2) {
        return Err("an invalid SUBSCRIBE".into());
    }
    Ok((id, filters))
}

/// An UNSUBSCRIBE: its packet identifier, and filters.
pub fn unsubscribe(body: &[u8]) -> Result<(u16, Vec<String>), String> {
    let mut fields = Fields(body);
    let id = fields.number()?;
    let mut filters = Vec::new();
    while !fields.0.is_empty() {
        filters.push(fields.text()?);
    }
    Ok((id, filters))
}

/// A text with its length.
fn field(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet with this first byte.
pub fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (vec![header], body.len());
    loop {
        let low = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// Whether a topic matches a filter that may end with `#`.
pub fn matches(filter: &str, topic: &str) -> bool {
    match filter.strip_suffix('#') {
        Some(prefix) => topic.starts_with(prefix),
        None => filter == topic,
    }
}
