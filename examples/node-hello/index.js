'use strict';

const http = require('node:http');
const { version } = require('./package.json');

const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  if (request.url !== '/') {
    response.statusCode = 404;
    response.end('Not found\n');
    return;
  }
  response.end(`Hello from node-hello ${version} on Node.js ${process.version}\n`);
});

server.listen(process.env.PORT || 3000, () => {
  console.log(`Listening on port ${server.address().port}`);
});

process.on('SIGTERM', () => {
  server.close();
  server.closeIdleConnections();
});
