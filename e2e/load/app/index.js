// Answers what it is asked: at once, slowly, or over a WebSocket.
const { createHash } = require('node:crypto')
const { createServer } = require('node:http')

const version = 'one'

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://app')
  const wait = Number(url.searchParams.get('ms') || 0)
  let body = ''
  request.on('data', (piece) => { body += piece })
  request.on('end', () => {
    if (url.pathname !== '/slow') return response.end(body || version)
    response.write('begun ') // what was begun has to be ended by the same version
    setTimeout(() => response.end('ended'), wait)
  })
})

// A WebSocket that says back what it hears: text of less than 126 bytes.
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
  let kept = Buffer.alloc(0)
  socket.on('error', () => socket.destroy())
  socket.on('data', (piece) => {
    kept = Buffer.concat([kept, piece])
    while (kept.length >= 6) {
      const length = kept[1] & 0x7f
      if (kept.length < 6 + length) return
      const text = Buffer.from(kept.subarray(6, 6 + length)).map((byte, i) => byte ^ kept[2 + (i % 4)])
      if ((kept[0] & 0x0f) === 8) return socket.end(Buffer.concat([Buffer.from([0x88, length]), text]))
      socket.write(Buffer.concat([Buffer.from([kept[0], length]), text]))
      kept = kept.subarray(6 + length)
    }
  })
})

server.listen(process.env.PORT || 3000, () => console.log('listening'))
process.on('SIGTERM', () => server.close())
