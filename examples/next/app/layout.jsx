import './globals.css';

export const metadata = {
  title: 'Palette of a word',
  description: 'Five colours for any word',
  icons: { icon: 'data:,' },
};

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>
        <main>{children}</main>
      </body>
    </html>
  );
}
