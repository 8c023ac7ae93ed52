// Package examples holds small real apps: the dashboard's samples, the README's
// tour, `make examples` and the tests use them.
package examples

import "embed"

// FS has a directory for each example, without what installing it leaves behind.
//
//go:embed astro/*.json astro/README.md astro/src
//go:embed django-postgres/*.py django-postgres/*.txt django-postgres/README.md
//go:embed django-postgres/garden/*.py django-postgres/plants/*.py django-postgres/plants/migrations/*.py django-postgres/plants/templates
//go:embed express-postgres/*.js express-postgres/*.json express-postgres/README.md express-postgres/public
//go:embed fastapi-postgres/*.py fastapi-postgres/*.txt fastapi-postgres/README.md fastapi-postgres/static
//go:embed fastify-redis/*.js fastify-redis/*.json fastify-redis/README.md fastify-redis/public
//go:embed flask/*.py flask/*.txt flask/README.md flask/static flask/templates
//go:embed go/*.go go/*.html go/*.txt go/README.md
//go:embed manifest-postgres/.env.example manifest-postgres/manifest.yml manifest-postgres/README.md
//go:embed manifest-sqlite/manifest.yml manifest-sqlite/README.md
//go:embed nest/*.json nest/README.md nest/public nest/src
//go:embed next/*.json next/README.md next/app next/lib
//go:embed node-hello/*.js node-hello/*.json node-hello/README.md
//go:embed pnpm-workspace/*.json pnpm-workspace/*.yaml pnpm-workspace/README.md
//go:embed pnpm-workspace/apps/web/*.js pnpm-workspace/apps/web/*.json pnpm-workspace/apps/web/*.css pnpm-workspace/packages/dice/*.js pnpm-workspace/packages/dice/*.json
//go:embed procfile-worker/*.js procfile-worker/*.json procfile-worker/*.css procfile-worker/Procfile procfile-worker/README.md
//go:embed static/*.html static/*.js static/*.css static/README.md
//go:embed vite-react/*.json vite-react/*.js vite-react/index.html vite-react/README.md vite-react/src
var FS embed.FS
