/** How the workbench is built: into bot/web/static/console, served by the application under /desk/. */
import vue from '@vitejs/plugin-vue'
import { ElementPlusResolver } from 'unplugin-vue-components/resolvers'
import components from 'unplugin-vue-components/vite'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  base: '/desk/',
  plugins: [
    vue(),
    // Only the Element Plus parts a template names are bundled. Our own components are imported by hand.
    components({ dts: 'src/components.d.ts', dirs: [], resolvers: [ElementPlusResolver()] }),
  ],
  build: {
    outDir: '../static/console',
    emptyOutDir: true,
    target: 'es2022',
    // The content security policy has no room for data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      '/api': { target: 'http://127.0.0.1:8080', ws: true },
    },
  },
  test: {
    environment: 'happy-dom',
    include: ['src/**/*.test.ts'],
    server: { deps: { inline: ['element-plus'] } },
  },
})
