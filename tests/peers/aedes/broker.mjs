// A broker of the tests, with aedes: speaks MQTT 3.1.1 only, and ends the connection of a client that publishes where it may not.
//   node broker.mjs FOLDER SETUP
// FOLDER: where scripts/setup has installed aedes. SETUP: JSON with `port`, and optionally `login` ([user, password]), `forbidden` (the
// end of a topic) and `certificate` and `key` (files). Each event is a line of JSON on standard output, written before the broker
// answers: what is acknowledged has been printed.
import { readFileSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, text] = process.argv.slice(2)
const setup = JSON.parse(text)
const installed = createRequire(join(folder, 'package.json')).resolve('aedes')
const { Aedes } = await import(pathToFileURL(installed))

const report = (event) => writeSync(1, JSON.stringify(event) + '\n')
const published = ({ topic, payload, qos, retain }) => ({ topic, payload: payload.toString(), qos, retain })

const broker = await Aedes.createBroker({
  authenticate(client, user, password, done) {
    const [wantedUser, wantedPassword] = setup.login ?? []
    const accepted = !setup.login || (user === wantedUser && password?.toString() === wantedPassword)
    report({ sign_in: client.id, accepted })
    done(accepted ? null : Object.assign(new Error('bad user name or password'), { returnCode: 4 }), accepted)
  },
  authorizePublish(_client, packet, done) {
    const forbidden = Boolean(setup.forbidden) && packet.topic.endsWith(setup.forbidden)
    report({ [forbidden ? 'forbidden' : 'message']: published(packet) })
    done(forbidden ? new Error('forbidden') : null)
  },
})
broker.on('subscribe', (subscriptions, client) => {
  report({ subscribed: client.id, topics: subscriptions.map(({ topic }) => topic) })
})
// Of clients with another version of MQTT, among others.
broker.on('connectionError', (client, error) => report({ refused: error.message }))

const tls = setup.certificate && { cert: readFileSync(setup.certificate), key: readFileSync(setup.key) }
const server = tls ? createTlsServer(tls, broker.handle) : createServer(broker.handle)
server.listen(setup.port, '127.0.0.1', () => report({ listening: server.address().port }))
