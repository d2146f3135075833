/** After the build: the API documentation page (/api/docs) from the swagger-ui-dist package, with our own start file. */
import { cp, mkdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const package_ = join(here, '../node_modules/swagger-ui-dist')
const out = join(here, '../../static/docs')

await rm(out, { recursive: true, force: true })
await mkdir(out, { recursive: true })
for (const name of ['swagger-ui-bundle.js', 'swagger-ui.css', 'LICENSE', 'NOTICE'])
  await cp(join(package_, name), join(out, name))
for (const name of ['index.html', 'start.js']) await cp(join(here, '../docs-page', name), join(out, name))
