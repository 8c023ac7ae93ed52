import { createRoot } from 'react-dom/client';
import { BrowserRouter, Link, Route, Routes } from 'react-router';
import { Recipe } from './Recipe.jsx';
import { RecipeList } from './RecipeList.jsx';
import './style.css';

createRoot(document.getElementById('root')).render(
  <BrowserRouter>
    <Routes>
      <Route path="/" element={<RecipeList />} />
      <Route path="/recipes/:id" element={<Recipe />} />
      <Route path="*" element={<p className="lead">There is no such page. <Link to="/">All recipes</Link></p>} />
    </Routes>
  </BrowserRouter>,
);
